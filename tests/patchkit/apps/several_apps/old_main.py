from fastapi import FastAPI
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI()


@app.get("/")
async def index() -> str:
    return (await client.responses.create(model="m", input="Are you there?")).output_text
