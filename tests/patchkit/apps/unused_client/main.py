from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()
client = None


@app.on_event("startup")
async def start():
    global client
    client = OpenAI(max_retries=0)


@app.get("/")
async def index() -> str:
    return "hello"
