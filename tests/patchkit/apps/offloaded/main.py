import asyncio
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from openai import OpenAI

app = FastAPI()
client = OpenAI(max_retries=0)
executor = ThreadPoolExecutor(2)


def complete(question):
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content


@app.post("/ask")
async def ask(question: str) -> str:
    return await asyncio.to_thread(complete, question)


@app.post("/ask/executor")
async def ask_executor(question: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(executor, lambda: complete(question))


@app.post("/ask/pool")
async def ask_pool(question: str) -> str:
    return await run_in_threadpool(complete, question)


@app.post("/ask/worker")
async def ask_worker(question: str) -> str:
    answers = queue.Queue()

    def work():
        answers.put(complete(question))

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.to_thread(answers.get)
