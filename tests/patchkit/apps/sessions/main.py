from fastapi import Depends, FastAPI
from openai import OpenAI
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

app = FastAPI()
client = OpenAI()


def get_db(): ...


def answer(question, db):
    db.add(question)
    return client.responses.create(model="m", input=question).output_text


@app.post("/sync")
async def ask(question: str, db: Session = Depends(get_db)) -> str:
    return answer(question, db)


@app.post("/async")
async def ask_async(question: str, db: AsyncSession = Depends(get_db)) -> str:
    return answer(question, db)
