import httpx
from fastapi import FastAPI
from pymongo import MongoClient
from qdrant_client import QdrantClient

app = FastAPI()
client = MongoClient()
openai = httpx.Client()
llm = QdrantClient(":memory:")


@app.post("/ask")
async def ask(question: str) -> str:
    client.chat.completions.create({"question": question})
    openai.post("https://example.org/chat/completions", json={"question": question})
    return llm.invoke(question)
