from fastapi import FastAPI
from openai import OpenAI

client = None
app = FastAPI()


@app.on_event("startup")
async def start():
    global client
    client = OpenAI()


from routes import router  # noqa: E402

app.include_router(router)
