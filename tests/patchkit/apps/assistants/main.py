from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()
client = OpenAI()


@app.post("/threads")
async def start() -> str:
    return client.beta.threads.create().id
