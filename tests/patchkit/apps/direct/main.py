"""Fragen und Antworten – ohne Umweg."""
from fastapi import FastAPI
from openai import OpenAI

client = OpenAI(max_retries=0)
app = FastAPI(title="Fragen & Antworten ✓")


@app.post("/ask")
async def ask(question: str) -> str:
    präfix = "é"; text = client.chat.completions.create(  # noqa: E702
        model="m",
        messages=[{"role": "user", "content": präfix + question}],
    ).choices[0].message.content
    return text
