from functools import lru_cache

from fastapi import Depends, FastAPI
from openai import OpenAI

app = FastAPI()


@lru_cache
def get_client() -> OpenAI:
    return OpenAI(max_retries=0)


@app.post("/ask")
async def ask(question: str, client: OpenAI = Depends(get_client)) -> str:
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content
