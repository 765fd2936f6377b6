from steps import clarify


def process(question):
    return tidy(clarify(question))


def tidy(answer):
    return answer.strip()
