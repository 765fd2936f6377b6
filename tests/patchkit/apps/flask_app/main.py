from flask import Flask, request
from openai import OpenAI

app = Flask(__name__)
client = OpenAI()


@app.post("/ask")
def ask():
    return client.responses.create(model="m", input=request.json["question"]).output_text
