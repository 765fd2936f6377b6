from fastapi import APIRouter

from main import client

router = APIRouter()


@router.post("/ask")
async def ask(question: str) -> str:
    return client.responses.create(model="m", input=question).output_text
