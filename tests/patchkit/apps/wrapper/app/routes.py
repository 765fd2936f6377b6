from fastapi import APIRouter

from .services.tutor import tutor

router = APIRouter()


@router.post("/ask")
async def ask(question: str) -> str:
    return tutor.answer(question)
