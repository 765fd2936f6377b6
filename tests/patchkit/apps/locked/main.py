import threading

from fastapi import FastAPI
from openai import OpenAI

app = FastAPI()
client = OpenAI(max_retries=0)
lock = threading.Lock()


@app.post("/ask")
async def ask(question: str) -> str:
    with lock:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content
