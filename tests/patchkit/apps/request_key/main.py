from fastapi import FastAPI, Header
from openai import AsyncOpenAI

app = FastAPI()


@app.post("/ask")
async def ask(question: str, x_key: str = Header()) -> str:
    client = AsyncOpenAI(api_key=x_key)
    answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content
