from contextlib import contextmanager

from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()
client = OpenAI(max_retries=0)


@contextmanager
def answered(question):
    yield client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])


def complete(question):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])


@app.post("/ask")
async def ask(question: str) -> str:
    with answered(question) as answer:
        return answer.choices[0].message.content


@app.post("/all")
async def ask_all(questions: list[str]) -> int:
    return sum(len(complete(question).choices) for question in questions)
