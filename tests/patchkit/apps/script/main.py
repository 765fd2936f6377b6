import asyncio

from openai import OpenAI

client = OpenAI()


async def main():
    print(client.responses.create(model="m", input="Hello").output_text)


if __name__ == "__main__":
    asyncio.run(main())
