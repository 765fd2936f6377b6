from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import OpenAI

app = FastAPI()
client = OpenAI(max_retries=0)


async def pieces(question: str):
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}], stream=True)
    for chunk in stream:
        yield chunk.choices[0].delta.content or ""


@app.post("/ask")
async def ask(question: str) -> StreamingResponse:
    return StreamingResponse(pieces(question), media_type="text/plain")
