import openai


class Tutor:
    def __init__(self, model: str) -> None:
        self.model = model
        self.client = openai.OpenAI(
            max_retries=0,  # the endpoint says what went wrong
        )

    def answer(self, question: str) -> str:
        response = self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": question}]
        )
        return response.choices[0].message.content


tutor = Tutor("m")
