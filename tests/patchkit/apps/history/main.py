from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()


class Bot:
    def __init__(self):
        self.client = OpenAI(max_retries=0)
        self.history = []

    def answer(self, question):
        self.history.append({"role": "user", "content": question})
        text = self.client.chat.completions.create(model="m", messages=self.history).choices[0].message.content
        self.history.append({"role": "assistant", "content": text})
        return text


bot = Bot()


@app.post("/ask")
async def ask(question: str) -> str:
    return bot.answer(question)
