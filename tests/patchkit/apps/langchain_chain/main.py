from fastapi import FastAPI
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

app = FastAPI()
prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])
chain = prompt | ChatOpenAI(model="m", max_retries=0) | StrOutputParser()


@app.post("/ask")
async def ask(question: str) -> str:
    return chain.invoke({"question": question})
