import openai
from fastapi import FastAPI

app = FastAPI()


@app.post("/ask")
async def ask(question: str) -> str:
    answer = openai.ChatCompletion.create(model="m", messages=[{"role": "user", "content": question}])
    return answer["choices"][0]["message"]["content"]
