from fastapi import FastAPI

from pipeline import process

app = FastAPI()


@app.post("/ask")
async def ask(question: str) -> str:
    return process(question)
