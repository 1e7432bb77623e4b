"""Writes tests/fixtures/task_grades.json: grades that lm-evaluation-harness gives to made-up answers.

    python -m venv .venv && .venv/bin/pip install --no-deps lm_eval==0.4.13
    .venv/bin/pip install pyyaml transformers datasets sacrebleu evaluate scikit-learn pytablewriter \
        more_itertools dill zstandard sqlitedict word2number rouge==1.0.1 fuzzywuzzy python-Levenshtein jieba
    .venv/bin/python tools/goldens/task_grades.py

Filters, metrics, stops and regular expressions are the harness's own, read from its task files; PyTorch
is not needed. An answer is cut at the harness's stops before it is graded, as its generation is.
"""

import importlib.metadata
import json
import pathlib

import lm_eval
import yaml
from lm_eval.api.metrics import exact_match_fn
from lm_eval.filters.extraction import RegexFilter, WhitespaceFilter
from lm_eval.tasks.longbench import metrics as longbench
from lm_eval.tasks.ruler import common_utils as ruler

TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "task_grades.json"
PACKAGES = ["lm_eval", "rouge", "fuzzywuzzy", "Levenshtein"]

GSM8K = {
    "18": [
        "The answer is 18.", " The answer is 18.", "The answer is 18", "the answer is 18.", "The answer is $18.",
        "The answer is 18 dollars.", "The answer is 18.0.", "The answer is 18.00.", "The answer is  18.",
        "The answer is: 18.", "The answer is\n18.", "The answer is 18!", "The answer is 18, as shown.",
        "The answer is 17. The answer is 18.", "The answer is 18. The answer is 17.", "The answer is 18%.",
        "The answer is -18.", "The answer is +18.", "The answer is eighteen.", "So 9 * 2 = 18", "It is 18...",
        "The answer isn't 18.", "The answer is not 18. It is 7.", "The answer is about 18.", "**The answer is 18.**",
        "The answer is **18**.", "The answer is \\boxed{18}.", "#### 18", "", " ", "...", "$", "-", "No idea.",
        "She has 18 eggs, 3 of them brown. The answer is 18.", "The answer is 18.\n\nQ: How many? A: The answer is 5.",
        "The answer is 1 8.", "The answer is 018.", "The answer is 18.5.", "The answer is 180.", "The answer is .18.",
        "The answer is 18 / 1 = 18.", "The answer is 36 / 2 = 18.", "The answer is 18 (see above: 3 + 15).",
        "The answer is \u0661\u0668.", "The answer is 18\u3002", "THE ANSWER IS 18.", "The answer is x = 18.",
        "18", "18.", "$18", "18 eggs", "The final answer is 18.",
    ],
    "1,234": [
        "The answer is 1,234.", "The answer is 1234.", "The answer is $1,234.", "The answer is $1,234.00.",
        "The answer is 1,234 dollars.", "The answer is 1 234.", "The answer is 1.234.", "The answer is 12,34.",
        "The answer is 1,234,", "Total: $1,234", "It costs $1,234.", "The answer is USD 1,234.", "1,234.5",
        "The answer is 1,234 and not 1,235.",
    ],
    "-5": ["The answer is -5.", "The answer is \u22125.", "The answer is - 5.", "The answer is -$5.", "The answer is $-5.",
           "The answer is 5.", "It fell by 5, so -5", "The answer is minus 5.", "3-5", "-5 degrees."],
    "0.5": ["The answer is 0.5.", "The answer is .5.", "The answer is 1/2.", "The answer is 0.50.", "The answer is 50%.",
            "Half of it, 0.5", "The answer is 0,5."],
}

LETTER = [
    "So the answer is (B).", "So the answer is B.", "So the answer is (b).", "So the answer is (B)", "So the answer is B",
    "So the answer is (B) blue.", "So the answer is option (B).", "So the answer is (A). Wait, the answer is (B).",
    "So the answer is (B). The answer is (A).", "the answer is (A) or (B).", "The answer is (B).", "So the answer is: (B).",
    "So the answer is  (B).", "So the answer is (B)!", "So the answer is (B).\n\nQ: Next?\nA: So the answer is (A).",
    "So the answer is (B).\nQ: Next?", "(B)", "B", "", "So the answer is ", "So the answer is.", "So the answer is (C).",
    "So the answer is (A).", "So the answer is not (B).", "So the answer isn't (B).", "So the answer is Bad.",
    "So the answer is \uff08B\uff09.", "So the answer is **(B)**.", "So the answer is `B`.", "Question (B). So the answer is (B).",
    "So the answer is (B).\n\nThat is all.", "So the answer is B) blue.", "So the answer is B, the blue one.",
    "So the correct answer is (B).", "So the answer is (B", "So the answer is ((B)).", "SO THE ANSWER IS (B).",
    "Quite clear. So the answer is (B).",
]
WORD = {
    "True": ["So the answer is True.", "So the answer is true.", "So the answer is TRUE.", "So the answer is True",
             "So the answer is not True.", "So the answer is False.", "True.", "So the answer is True!",
             "So the answer is True. So the answer is False.", "So the answer is \"True\".", "So the answer is Trues."],
    "No": ["So the answer is No.", "So the answer is no.", "So the answer is No, because it moved.", "So the answer is None.",
           "So the answer is Yes.", "No"],
    "valid": ["So the answer is valid.", "So the answer is invalid.", "So the answer is valid .", "So the answer is \u201cvalid\u201d."],
    "7": ["So the answer is 7.", "So the answer is 7", "So the answer is 7.0.", "So the answer is seven.", "So the answer is -7.",
          "So the answer is 77.", "So the answer is 7 objects."],
    "-34": ["So the answer is -34.", "So the answer is \u221234.", "So the answer is 34.", "So the answer is - 34."],
    "> ) }": ["So the answer is > ) }.", "So the answer is > ) }", "So the answer is >)}.", "So the answer is > ) } ].",
              "So the answer is  > ) }.", "So the answer is > )  }."],
    "ant bee cow": ["So the answer is ant bee cow.", "So the answer is Ant Bee Cow.", "So the answer is ant, bee, cow.",
                    "So the answer is ant bee.", "So the answer is ant bee cow dog.", "So the answer is ant\nbee cow.",
                    "So the answer is: ant bee cow.", "ant bee cow"],
}

MMLU = [
    "B", " B", " B\n", " B\n\nThe following", "B.", "(B)", "(B).", " (B) four", "b", "B) four", "B: four", "B, since", "B four",
    "A", "C", " D\n", "", " ", "\n", "\nB", "Because", "BB", "A B", "B A", "The answer is B", "Answer: B", "**B**", "B\t", "B!",
    "[B]", "\"B\"", "B?", "B;", "\uff22", "\u0392", "B-52", "B'", "B\u00a0", "(b)", "(B", "B)", "-B", "B\r\n", "A.", "(A)", "A)",
]

QA = [
    ("hotpotqa", "Bob Dylan", ["Bob Dylan"]), ("hotpotqa", " The Bob Dylan. ", ["Bob Dylan"]),
    ("hotpotqa", "Dylan", ["Bob Dylan", "Robert Zimmerman"]), ("hotpotqa", "bob, DYLAN!", ["Bob Dylan"]),
    ("hotpotqa", "", ["Bob Dylan"]), ("hotpotqa", "Robert Allen Zimmerman", ["Bob Dylan", "Robert Zimmerman"]),
    ("hotpotqa", "Bob Bob Bob", ["Bob Dylan"]), ("hotpotqa", "yes", ["Yes"]), ("hotpotqa", "an a the", ["the"]),
    ("2wikimqa", "1 July 1990", ["July 1, 1990"]), ("2wikimqa", "1990", ["July 1, 1990"]), ("2wikimqa", "U.S.A.", ["USA"]),
    ("musique", "Bah\u00eda de Cochinos", ["Bahia de Cochinos", "Bah\u00eda"]), ("musique", "St. Louis", ["Saint Louis"]),
    ("narrativeqa", "He went to the sea and drowned.", ["He drowned in the sea", "drowned"]),
    ("narrativeqa", "He\u00a0went\u2003home", ["he went home"]), ("narrativeqa", "He went\nhome. The end.", ["home"]),
    ("qasper", "unanswerable", ["Unanswerable"]), ("qasper", "3.5% of tokens", ["3.5%"]), ("qasper", "Yes.", ["No"]),
    ("qasper", "BERT-large, RoBERTa", ["BERT large and RoBERTa"]), ("qasper", "\u6771\u4eac", ["\u6771\u4eac"]),
    ("multifieldqa_en", "It's 12", ["Its 12"]), ("multifieldqa_en", "twelve (12)", ["12"]),
    ("triviaqa", "Paris", ["Paris", "Paris, France"]), ("triviaqa", "Paris\nQuestion: Who?\nAnswer: London", ["Paris"]),
    ("triviaqa", "  Paris  \nLondon", ["Paris"]), ("triviaqa", "The city of Paris", ["Paris"]),
    ("triviaqa", "\nParis", ["Paris"]), ("triviaqa", "", ["Paris"]),
]
SUMMARIES = [
    ("gov_report", "The report says that costs rose. It recommends cuts.", ["Costs rose, the report says. It recommends cuts."]),
    ("gov_report", "", ["Costs rose."]), ("gov_report", "   ", ["Costs rose."]), ("gov_report", ".", ["Costs rose."]),
    ("gov_report", "costs rose costs rose costs rose", ["costs rose"]), ("gov_report", "Costs. Rose. Fell.", ["Costs rose fell."]),
    ("qmsum", "They agreed\non the plan.", ["They agreed on the plan."]), ("qmsum", "Plan...", ["They agreed on the plan."]),
    ("qmsum", "They They They", ["They agreed"]), ("qmsum", "\u00c9t\u00e9 \u00e0 Paris", ["\u00e9t\u00e9 \u00e0 paris"]),
    ("multi_news", "a b c d e f", ["f e d c b a"]), ("multi_news", "a b. c d.", ["c d. a b."]),
    ("multi_news", "One two three four", ["One three four", "two four"]), ("multi_news", "x", ["y"]),
    ("samsum", "Amy will call Ben.\nDialogue: more", ["Amy will call Ben."]), ("samsum", "Amy calls", ["Amy will call Ben."]),
    ("samsum", "\nAmy will call Ben.", ["Amy will call Ben."]), ("samsum", "Amy will call Ben", ["Amy will call Ben."]),
    ("samsum", "", ["Amy"]),
]
CLASSES = ["Food", "Date", "Date of birth", "Order, rank", "Other location", "Location", "Individual", "Color"]
TREC = [
    ("Food", "Food"), ("Food\nQuestion: What?\nType: Date", "Food"), ("food", "Food"), (" Food ", "Food"), ("Food or Color", "Food"),
    ("Type: Food", "Food"), ("Date of birth", "Date of birth"), ("Date", "Date of birth"), ("Date of birth", "Date"),
    ("Other location", "Other location"), ("Other location", "Location"), ("Location", "Other location"), ("", "Food"),
    ("Foods", "Food"), ("Order, rank, Food, Date", "Date"), ("Color Individual", "Food"), ("\nFood", "Food"),
    ("Date Date of birth Location", "Date of birth"), ("Order", "Order, rank"),
]
NUMBERS = [
    ("passage_count", "17", ["17"]), ("passage_count", "There are 17 unique paragraphs.", ["17"]), ("passage_count", "17 of 20", ["17"]),
    ("passage_count", "seventeen", ["17"]), ("passage_count", "", ["17"]), ("passage_count", "17 17 3", ["17"]),
    ("passage_count", "017", ["17"]), ("passage_count", "1.7", ["17"]), ("passage_count", "\u0661\u0667", ["17"]), ("passage_count", "-17", ["17"]),
    ("passage_retrieval_en", "Paragraph 3", ["Paragraph 3"]), ("passage_retrieval_en", "3", ["Paragraph 3"]),
    ("passage_retrieval_en", "Paragraph 13", ["Paragraph 3"]), ("passage_retrieval_en", "Paragraph 3 or 4", ["Paragraph 3"]),
    ("passage_retrieval_en", "Paragraph three", ["Paragraph 3"]), ("passage_retrieval_en", "Paragraph 30.3", ["Paragraph 3"]),
]
CODE = [
    ("return x", "return x"), ("return x\nreturn y", "return x"), ("    return x", "return x"), ("\n\nreturn x", "return x"),
    ("# comment\nreturn x", "return x"), ("# comment\n\n  \nreturn x", "return x"), ("```python\nreturn x\n```", "return x"),
    ("// note\nreturn x;", "return x"), ("return x  # why", "return x"), ("", "return x"), ("# only", "return x"),
    ("return y", "return x"), ("int a = 0;", "int b = 1;"), ("x" * 40, "x" * 20), ("\u00e9t\u00e9 = 1", "ete = 1"),
    ("self.assertEqual(a, b)", "self.assertEquals(a, b)"), ("url = 'http://a'\nreturn", "return"), ("\t", "return x"),
    ("a\nb", "b"), ("\U0001f600 = 1", "\U0001f601 = 1"),
]
RULER = [
    ("1234567", ["1234567"]), (" 1234567.", ["1234567"]), ("The number is 1234567, I think", ["1234567"]), ("123456", ["1234567"]),
    ("91234567", ["1234567"]), ("1,234,567", ["1234567"]), ("", ["1234567"]), ("1234\n567", ["1234567"]), ("1234567", ["1234567", "7654321"]),
    ("7654321 and 1234567", ["1234567", "7654321"]), ("7654321\t1234567", ["1234567", "7654321"]), ("ABCDE FGHIJ", ["ABCDE", "FGHIJ", "KLMNO"]),
    ("abcde", ["ABCDE"]), ("Abcdef", ["abcde"]), ("1. leaf 2. tank", ["leaf", "tank", "views"]), ("leaflet", ["leaf"]),
    ("leaf leaf leaf", ["leaf", "tank"]), ("D9D0F080-009D", ["d9d0f080-009d"]), ("d9d0f080 - 009d", ["d9d0f080-009d"]),
    ("\u0130stanbul", ["\u0130stanbul"]), ("STRASSE", ["stra\u00dfe"]), ("leaf\x00tank", ["leaf", "tank"]), ("\u0001", ["a"]), ("tank", ["TANK"]),
]


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!function", lambda loader, node: node.value)


def config(path):
    with open(TASKS / path, encoding="utf-8") as file:
        return yaml.load(file, Loader)


def filters(steps):
    made = {"regex": RegexFilter, "remove_whitespace": WhitespaceFilter}
    return [made[step.pop("function")](**step) for step in map(dict, steps) if step["function"] != "take_first"]


def exact_match(task, answer, reference, steps):
    answers = [[stopped(task, answer)]]
    for step in filters(steps):
        answers = list(step.apply(answers, [{}]))
    metric = task["metric_list"][0]
    names = ["regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers"]
    options = {name: metric[name] for name in names if name in metric}
    return float(exact_match_fn(predictions=answers[0], references=[reference], **options)["exact_match"])


def stopped(task, answer):
    for stop in task["generation_kwargs"]["until"]:
        answer = answer.split(stop)[0]
    return answer


def gsm8k():
    task = config("gsm8k/gsm8k-cot.yaml")
    steps = {entry["name"]: entry["filter"] for entry in task["filter_list"]}
    for reference, answers in GSM8K.items():
        for answer in answers:
            strict, flexible = (exact_match(task, answer, reference, steps[name]) for name in ["strict-match", "flexible-extract"])
            yield {"group": "gsm8k", "answer": answer, "reference": f"Some steps.\n#### {reference}", "score": strict, "flexible": flexible}


def bbh():
    task = config("bbh/cot_fewshot/_cot_fewshot_template_yaml")
    steps = task["filter_list"][0]["filter"]
    for reference, answers in {"(B)": LETTER, **WORD}.items():
        for answer in answers:
            yield {"group": "any", "answer": answer, "reference": reference, "score": exact_match(task, answer, reference, steps)}


def mmlu():
    task = config("mmlu/generative/_default_template_yaml")
    for answer in MMLU:
        steps = task["filter_list"][0]["filter"]
        yield {"group": "any", "answer": answer, "reference": "B", "score": exact_match(task, answer, "B", steps)}


def longbench_cases():
    for group, answer, answers in QA + SUMMARIES + NUMBERS:
        yield group, answer, {"answers": answers}
    for answer, right in TREC:
        yield "trec", answer, {"answers": [right], "classes": CLASSES}
    for at, (answer, right) in enumerate(CODE):
        yield ["lcc", "repobench-p"][at % 2], answer, {"answers": [right]}


def longbench_grades():
    for group, answer, reference in longbench_cases():
        task = config(f"longbench/{group}.yaml")
        process = getattr(longbench, task["process_results"].rsplit(".", 1)[1])
        doc = {"answers": reference["answers"], "all_classes": reference.get("classes")}
        score = float(process(doc, [stopped(task, answer)])["score"])
        yield {"group": group, "answer": answer, "reference": reference, "score": score}


def ruler_grades():
    for answer, reference in RULER:
        score = ruler.process_results({"max_length": 4096, "outputs": reference}, [answer])["4096"]
        yield {"group": "any", "answer": answer, "reference": reference, "score": score}


def main():
    grades = {"gsm8k": gsm8k(), "bbh": bbh(), "mmlu": mmlu(), "longbench": longbench_grades(), "ruler": ruler_grades()}
    made_with = {name: importlib.metadata.version(name) for name in PACKAGES}
    lines = [f'"made_with": {json.dumps(made_with)}']
    for task, cases in grades.items():
        rows = ",\n".join(json.dumps(case) for case in cases)
        lines.append(f'"{task}": [\n{rows}\n]')
        print(task, rows.count("\n") + 1)
    FIXTURE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
