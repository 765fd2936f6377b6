from openai import OpenAI

client = OpenAI(max_retries=0)
