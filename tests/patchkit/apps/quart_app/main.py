from openai import OpenAI
from quart import Quart, request

app = Quart(__name__)
client = OpenAI()


@app.post("/ask")
async def ask():
    question = (await request.get_json())["question"]
    return client.responses.create(model="m", input=question).output_text
