import httpx
from fastapi import FastAPI
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(http_client=httpx.AsyncClient())


@app.post("/ask")
async def ask(question: str) -> str:
    return (await client.responses.create(model="m", input=question)).output_text
