import asyncio

from fastapi import FastAPI
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(max_retries=0)


@app.post("/ask")
async def ask(question: str) -> str:
    messages = [{"role": "user", "content": question}]
    later = client.chat.completions.create(model="m", messages=messages)
    first = asyncio.create_task(client.chat.completions.create(model="m", messages=messages))
    second = asyncio.wait_for(client.chat.completions.create(model="m", messages=messages), 30)
    answers = await asyncio.gather(first, second, later)
    return answers[0].choices[0].message.content
