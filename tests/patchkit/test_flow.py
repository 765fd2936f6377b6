"""Is a call found through whatever stands between the route and the SDK, and only where the loop really waits?"""

from __future__ import annotations

from pathlib import Path

import pytest

from .trees import HEAD, blocking, found, patched, planned, tree_of

ROUTE = '@app.post("/ask")\nasync def ask(question: str):\n    '

FOUND = {
    "direct": ROUTE + 'return client.responses.create(model="m", input=question)\n',
    "module_function": ROUTE + 'return openai.responses.create(model="m", input=question)\n\n\nimport openai\n',
    "renamed_import": "import openai as ai\n\nllm = ai.OpenAI()\n\n\n"
    + ROUTE
    + "return llm.embeddings.create(input=question)\n",
    "options": ROUTE + "return client.with_options(timeout=3).chat.completions.create(messages=[])\n",
    "raw_response": ROUTE + "return client.chat.completions.with_raw_response.create(messages=[])\n",
    "nested_def": ROUTE + "def inner():\n        return client.responses.create()\n\n    return inner()\n",
    "lambda": ROUTE + "inner = lambda: client.responses.create()\n    return inner()\n",
    "partial": "from functools import partial\n\n" + ROUTE + "return partial(helper, 1)()\n\n\n"
    "def helper(n):\n    return client.responses.create()\n",
    "getattr": ROUTE + 'return getattr(client, "responses").create()\n',
    "dict_of_services": "class A:\n    def go(self):\n        return client.responses.create()\n\n\n"
    'SERVICES = {"a": A()}\n\n\n' + ROUTE + "return SERVICES[question].go()\n",
    "dict_get": "class A:\n    def go(self):\n        return client.responses.create()\n\n\n"
    'SERVICES = {"a": A()}\n\n\n' + ROUTE + "return SERVICES.get(question).go()\n",
    "passed_client": "class A:\n    def __init__(self, llm):\n        self._llm = llm\n\n"
    "    def go(self):\n        return self._llm.responses.create()\n\n\nservice = A(client)\n\n\n"
    + ROUTE
    + "return service.go()\n",
    "subclass": "class Base:\n    def go(self):\n        return self.ask()\n\n    def ask(self):\n        raise NotImplementedError\n\n\n"
    "class A(Base):\n    def ask(self):\n        return client.responses.create()\n\n\n"
    "def service() -> Base:\n    return A()\n\n\n" + ROUTE + "return service().go()\n",
    "abstract": "from abc import ABC, abstractmethod\n\n\nclass Base(ABC):\n    @abstractmethod\n    def ask(self): ...\n\n\n"
    "class A(Base):\n    def ask(self):\n        return client.responses.create()\n\n\n"
    "async def work(service: Base):\n    return service.ask()\n\n\n" + ROUTE + "return await work(load())\n",
    "dependency": "from fastapi import Depends\n\n\nclass A:\n    def ask(self):\n        return client.responses.create()\n\n\n"
    "def service():\n    return A()\n\n\n"
    '@app.post("/ask")\nasync def ask(a: A = Depends(service)):\n    return a.ask()\n',
    "annotated_dependency": "from typing import Annotated\n\nfrom fastapi import Depends\n\n\n"
    "class A:\n    def ask(self):\n        return client.responses.create()\n\n\nService = Annotated[A, Depends()]\n\n\n"
    '@app.post("/ask")\nasync def ask(a: Service):\n    return a.ask()\n',
    "async_dependency": "from fastapi import Depends\n\n\nasync def topic(question: str):\n    return client.responses.create()\n\n\n"
    '@app.post("/ask")\nasync def ask(t=Depends(topic)):\n    return t\n',
    "app_state": '@app.on_event("startup")\nasync def start():\n    app.state.llm = OpenAI()\n\n\n'
    "from fastapi import Request\n\n\n"
    '@app.post("/ask")\nasync def ask(request: Request):\n    return request.app.state.llm.responses.create()\n',
    "lazy_singleton": "_llm = None\n\n\ndef get():\n    global _llm\n    if _llm is None:\n        _llm = OpenAI()\n"
    "    return _llm\n\n\n" + ROUTE + "return get().responses.create()\n",
    "property": "class A:\n    @property\n    def llm(self):\n        return OpenAI()\n\n    async def ask(self):\n"
    "        return self.llm.responses.create()\n\n\n" + ROUTE + "return await A().ask()\n",
    "generator": "def pieces(q):\n    yield client.responses.create()\n\n\n"
    + ROUTE
    + "for p in pieces(question):\n        pass\n",
    "list_of_generator": "def pieces(q):\n    yield client.responses.create()\n\n\n"
    + ROUTE
    + "return list(pieces(question))\n",
    "async_generator": "from fastapi.responses import StreamingResponse\n\n\nasync def pieces(q):\n    yield client.responses.create()\n\n\n"
    '@app.post("/ask")\ndef ask(q: str):\n    return StreamingResponse(pieces(q))\n',
    "background_task": "from fastapi import BackgroundTasks\n\n\nasync def later(q):\n    client.responses.create()\n\n\n"
    '@app.post("/ask")\nasync def ask(q: str, tasks: BackgroundTasks):\n    tasks.add_task(later, q)\n',
    "create_task": "import asyncio\n\n\nasync def later():\n    client.responses.create()\n\n\n"
    + ROUTE
    + "asyncio.create_task(later())\n",
    "middleware": '@app.middleware("http")\nasync def guard(request, call_next):\n    client.moderations.create(input="x")\n'
    "    return await call_next(request)\n",
    "websocket": '@app.websocket("/ws")\nasync def ws(socket):\n    client.responses.create()\n',
    "added_route": 'async def ask(q: str):\n    client.responses.create()\n\n\napp.add_api_route("/ask", ask)\n',
    "map": "def one(q):\n    return client.responses.create()\n\n\n" + ROUTE + "return list(map(one, [question]))\n",
    "call_of_wrapper": "class A:\n    def __call__(self, q):\n        return client.responses.create()\n\n\na = A()\n\n\n"
    + ROUTE
    + "return a(question)\n",
    "two_names": "import asyncio\n\nfast = AsyncOpenAI()\n\n\n"
    + ROUTE
    + "llm = fast\n    llm = client\n    return llm.responses.create()\n",
}
NOT_FOUND = {
    "awaited": "fast = AsyncOpenAI()\n\n\n" + ROUTE + "return await fast.responses.create()\n",
    "async_with": "fast = AsyncOpenAI()\n\n\n"
    + ROUTE
    + "async with fast.responses.stream() as stream:\n        return await stream.get_final_response()\n",
    "to_thread": "import asyncio\n\n\n" + ROUTE + "return await asyncio.to_thread(client.responses.create)\n",
    "anyio": "import anyio\n\n\n"
    + ROUTE
    + "return await anyio.to_thread.run_sync(lambda: client.responses.create())\n",
    "def_endpoint": '@app.post("/ask")\ndef ask(q: str):\n    return client.responses.create()\n',
    "sync_dependency": "from fastapi import Depends\n\n\ndef topic(q: str):\n    return client.responses.create()\n\n\n"
    '@app.post("/ask")\nasync def ask(t=Depends(topic)):\n    return t\n',
    "sync_stream_for_response": "from fastapi.responses import StreamingResponse\n\n\ndef pieces(q):\n"
    "    yield client.responses.create()\n\n\n" + ROUTE + "return StreamingResponse(pieces(question))\n",
    "sync_background_task": "from fastapi import BackgroundTasks\n\n\ndef later(q):\n    client.responses.create()\n\n\n"
    '@app.post("/ask")\nasync def ask(q: str, tasks: BackgroundTasks):\n    tasks.add_task(later, q)\n',
    "startup": '@app.on_event("startup")\nasync def warm():\n    client.responses.create()\n',
    "never_called": "async def orphan():\n    return client.responses.create()\n",
    "only_named": ROUTE + "return client.responses.create\n",
    "attributes": ROUTE + "return client.api_key, client.base_url, client.close\n",
    "iterating_an_answer": "fast = AsyncOpenAI()\n\n\n"
    + ROUTE
    + "answer = await fast.chat.completions.create(messages=[])\n    for choice in answer.choices:\n        return choice\n",
    "unfollowed_branch": "fast = AsyncOpenAI()\n\n\n"
    + ROUTE
    + "llm = client\n    llm = fast\n    return await llm.responses.create()\n",
}


@pytest.mark.parametrize("name", FOUND)
def test_is_found(name: str, tmp_path: Path) -> None:
    """One call blocks, and the chain ends at it."""
    assert len(blocking(tree_of(tmp_path, {"main.py": HEAD + FOUND[name]}))) == 1


@pytest.mark.parametrize("name", NOT_FOUND)
def test_is_not_found(name: str, tmp_path: Path) -> None:
    """Nothing blocks."""
    assert blocking(tree_of(tmp_path, {"main.py": HEAD + NOT_FOUND[name]})) == []


def test_names_lie(tmp_path: Path) -> None:
    """A class that is only called like the SDK's, from a library that is not it."""
    code = "from fastapi import FastAPI\nfrom other import OpenAI\n\napp = FastAPI()\nclient = OpenAI()\n\n\n"
    files = {"main.py": code + ROUTE + "return client.responses.create()\n", "llm.py": "import openai\n"}
    assert blocking(tree_of(tmp_path, files)) == []


STYLES = {
    "relative": "from .services.llm import complete\n",
    "relative_package": "from . import services\nfrom .services import llm\n\ncomplete = llm.complete\n",
    "absolute": "from app.services.llm import complete\n",
    "module": "import app.services.llm\n\ncomplete = app.services.llm.complete\n",
    "star": "from app.services.llm import *\n",
    "from_package": "from app.services import complete\n",
    "inside": "def complete(q):\n    from app.services.llm import complete as real\n\n    return real(q)\n",
}


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("below", ["", "backend/", "src/"], ids=["root", "backend", "src"])
def test_modules_are_found(name: str, below: str, tmp_path: Path) -> None:
    """However the app imports, and wherever its folder is."""
    files = {
        "app/__init__.py": "",
        "app/services/__init__.py": "from .llm import complete\n",
        "app/services/llm.py": "from openai import OpenAI\n\nclient = OpenAI()\n\n\n"
        "def complete(q):\n    return client.responses.create()\n",
        "app/main.py": f"from fastapi import FastAPI\n\n{STYLES[name]}\nsite = FastAPI()\n\n\n"
        '@site.post("/ask")\nasync def ask(q: str):\n    return complete(q)\n',
    }
    tree_of(tmp_path, {below + path: text for path, text in files.items()})
    assert blocking(tmp_path) == [f"{below}app/services/llm.py:7"]


def test_local_file_does_not_hide_the_library(tmp_path: Path) -> None:
    """`services/openai.py` imports the SDK, not itself."""
    files = {
        "services/openai.py": "import openai\n\nclient = openai.OpenAI()\n\n\ndef go():\n    return client.responses.create()\n",
        "main.py": "from fastapi import FastAPI\n\nfrom services.openai import go\n\napp = FastAPI()\n\n\n"
        '@app.get("/")\nasync def index():\n    return go()\n',
    }
    assert blocking(tree_of(tmp_path, files)) == ["services/openai.py:7"]


def test_one_edit_serves_any_depth(tmp_path: Path) -> None:
    """Two calls below one helper: one finding, one edit, both chains."""
    code = (
        "def a(q):\n    client.responses.create()\n    return b(q)\n\n\n"
        "def b(q):\n    return client.embeddings.create()\n\n\n" + ROUTE + "return a(question)\n"
    )
    root = tree_of(tmp_path, {"main.py": HEAD + code})
    (finding,) = found(root).blocking
    assert [str(chain).split(" → ")[1:] for chain in finding.chains] == [
        ["ask()", "a()", "client.responses.create"],
        ["ask()", "a()", "b()", "client.embeddings.create"],
    ]
    assert patched(root)["main.py"].count("phase1.call") == 1


EXPRESSIONS = {
    "client.responses.create().output_text": "(await phase1.call(client.responses.create)).output_text",
    "client.responses.create(input=question)": "await phase1.call(client.responses.create, input=question)",
    "client.responses.create(**{'input': question})": "await phase1.call(client.responses.create, **{'input': question})",
    "helper(*[question])[0]": "(await phase1.call(helper, *[question]))[0]",
    "helper(helper(question))": "await phase1.call(helper, await phase1.call(helper, question))",
    "(helper)(question)": "await phase1.call((helper), question)",
    "(helper(question))": "(await phase1.call(helper, question))",
    "[helper(q) for q in question]": "[await phase1.call(helper, q) for q in question]",
    'f"{helper(question)}"': 'f"{await phase1.call(helper, question)}"',
    "not helper(question)": "not await phase1.call(helper, question)",
    "helper(question) ** 2": "(await phase1.call(helper, question)) ** 2",
    "helper(question)()": "(await phase1.call(helper, question))()",
    "helper(question) if question else None": "await phase1.call(helper, question) if question else None",
    "(x := helper(question))": "(x := await phase1.call(helper, question))",
    "{'a': helper(question)}": "{'a': await phase1.call(helper, question)}",
    "helper( question )": "await phase1.call(helper, question )",
}


@pytest.mark.parametrize("before", EXPRESSIONS)
def test_expression_is_edited(before: str, tmp_path: Path) -> None:
    """Parentheses where an await needs them, and every argument as it was written."""
    code = f"{ROUTE}return {before}\n\n\ndef helper(q):\n    return client.responses.create()\n"
    lines = patched(tree_of(tmp_path, {"main.py": HEAD + code}))["main.py"].splitlines()
    assert f"    return {EXPRESSIONS[before]}" in lines


PLACES = {
    "plain": ("app = FastAPI()\n", "app = FastAPI()\nphase1.install(app)\n"),
    "annotated": ("app: FastAPI = FastAPI()\n", "app: FastAPI = FastAPI()\nphase1.install(app)\n"),
    "on two lines": (
        'app = FastAPI(\n    title="x",  # é\n)\n',
        'app = FastAPI(\n    title="x",  # é\n)\nphase1.install(app)\n',
    ),
    "in a function": (
        "def create():\n    app = FastAPI()\n    app.include_router(router)\n    return app\n\n\napp = create()\n",
        "def create():\n    app = FastAPI()\n    phase1.install(app)\n    app.include_router(router)\n",
    ),
    "two names": ("server = app = FastAPI()\n", ""),
    "in one line": ("import os\n\nif os: app = FastAPI()\n", ""),
}


@pytest.mark.parametrize("name", PLACES)
def test_install_stands_below_the_app(name: str, tmp_path: Path) -> None:
    """Wherever it is made, if it has one name; else a person is asked."""
    before, after = PLACES[name]
    code = (
        f"from fastapi import APIRouter, FastAPI\nfrom openai import OpenAI\n\n{before}router = APIRouter()\n"
        'client = OpenAI()\n\n\n@router.post("/ask")\nasync def ask(question: str):\n    return client.responses.create()\n'
    )
    root = tree_of(tmp_path, {"main.py": code})
    text = patched(root)["main.py"]
    assert after in text
    levels = {one.rule.id: one.safety.value for one in found(root).findings}
    assert levels["P101"] == ("safe" if after else "report")


@pytest.mark.parametrize(
    "line", ["phase1 = 1\n", "from other import phase1\n", "def phase1():\n    pass\n", "def g(phase1):\n    pass\n"]
)
def test_taken_name_is_told(line: str, tmp_path: Path) -> None:
    """A file in which `phase1` is something else is left alone, and the reason is told."""
    root = tree_of(tmp_path, {"main.py": HEAD + line + ROUTE + "return client.responses.create()\n"})
    assert planned(root, unsafe=True).changes == ()
    assert found(root).findings[0].reasons == ("the name phase1 stands for something else in this file",)


IMPORTS = {
    "": "import phase1\n\ndef load():\n",
    '"""Doc."""\n': '"""Doc."""\n\nimport phase1\n',
    "from __future__ import annotations\n": "from __future__ import annotations\n\nimport phase1\n",
    "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n": "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport phase1\n\ndef load():\n",
    "import os\n\nos.environ['A'] = 'b'\nimport sys\n": "import os\n\nimport phase1\n\nos.environ['A'] = 'b'\nimport sys\n",
    "import phase1\n": "import phase1\n",
}


@pytest.mark.parametrize("head", IMPORTS)
def test_import_stands_below_the_first_imports(head: str, tmp_path: Path) -> None:
    """Above everything that could need it, below `__future__`, and only once."""
    code = (
        "def load():\n    from fastapi import FastAPI\n    from openai import AsyncOpenAI\n\n    app = FastAPI()\n"
        '    client = AsyncOpenAI()\n\n    @app.post("/ask")\n    async def ask(question: str):\n'
        "        return await client.responses.create()\n\n    return app\n"
    )
    text = patched(tree_of(tmp_path, {"main.py": head + code}), unsafe=True)["main.py"]
    assert text.startswith(IMPORTS[head])
    assert text.count("import phase1\n") == 1
