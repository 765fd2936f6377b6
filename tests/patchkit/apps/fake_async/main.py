from fastapi import FastAPI
from openai import OpenAI


class Assistant:
    def __init__(self):
        self.client = OpenAI(max_retries=0)

    async def reply(self, question):
        response = self.client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": question}],
        )
        return response.choices[0].message.content


app = FastAPI()
assistant = Assistant()


@app.post("/ask")
async def ask(question: str) -> str:
    return await assistant.reply(question)
