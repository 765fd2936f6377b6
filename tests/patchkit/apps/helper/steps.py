import openai

client = openai.OpenAI(max_retries=0)


def complete(prompt):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])


def clarify(question):
    return complete(f"Clarify: {question}").choices[0].message.content
