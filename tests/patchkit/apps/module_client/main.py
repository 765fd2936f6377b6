from fastapi import FastAPI

from llm import client

app = FastAPI()


@app.post("/ask")
async def ask(question: str) -> str:
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content
