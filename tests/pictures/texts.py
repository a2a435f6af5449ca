"""What is said in the pictures: a question and its answer, in both languages."""

from pathlib import Path

HERE = Path(__file__).parent

TITLE = "Speculative decoding"
QUESTION = "How does speculative decoding make a model answer faster?"
ANSWER = (HERE / "answer.md").read_text()

TITLE_ZH = "投机解码"
QUESTION_ZH = "投机解码为什么能让模型答得更快？"
ANSWER_ZH = (HERE / "answer.zh-CN.md").read_text()

COMPARED_TITLE = "A mutex, side by side"
COMPARED = "Explain a mutex to a ten-year-old, in three sentences."
COMPARED_ANSWERS = (
    "Imagine one **talking stick** for the whole class. Only the child who holds it"
    " may speak, and everybody else waits until it is passed on. A mutex is that stick"
    " for programs: whoever holds it may touch the shared toy, so that nobody breaks it"
    " by grabbing at the same time.",
    "A mutex is like the **key to the only swing** in the park.\n\n"
    "1. You take the key, and the swing is yours.\n"
    "2. Your friends wait in line, without pushing.\n"
    "3. When you are done, you give the key back, and the next one swings.",
)

COMPARED_TITLE_ZH = "并排比较：互斥锁"
COMPARED_ZH = "用三句话给十岁的孩子讲讲互斥锁。"
COMPARED_ANSWERS_ZH = (
    "想象全班只有一根**发言棒**。拿着它的孩子才能说话，其他人等它传过来。"
    "互斥锁就是程序的发言棒：谁拿着它，谁才能碰共用的玩具，不会有人同时去抢。",
    "互斥锁就像公园里**唯一一架秋千的钥匙**。\n\n"
    "1. 你拿到钥匙，秋千就归你。\n"
    "2. 朋友们排队等着，不推不挤。\n"
    "3. 你玩完把钥匙还回去，轮到下一个人。",
)

# Titles of other conversations, with the folder that they are in.
TITLES = (
    ("Draft of the release notes", "Work"),
    ("Why is my query slow?", "Work"),
    ("Review of the vLLM upgrade", "Work"),
    ("A week of dinners for four", "Home"),
    ("Packing list for the Alps", "Home"),
    ("Regular expressions for dates", ""),
    ("Explain the Raft paper", ""),
    ("Birthday poem for Mei", ""),
)
TITLES_ZH = (
    ("发布说明草稿", "工作"),
    ("这条查询为什么慢？", "工作"),
    ("评审 vLLM 升级", "工作"),
    ("一家四口的一周晚餐", "生活"),
    ("去阿尔卑斯的行李清单", "生活"),
    ("匹配日期的正则表达式", ""),
    ("讲讲 Raft 论文", ""),
    ("给小美的生日诗", ""),
)
# What search finds in some of them: (title's place, what was said).
SAID = (
    (1, "The index is there, but the planner ignores it: the query casts the column."),
    (5, "Match a date, then let an index on the captured year do the rest."),
    (6, "Each entry has a term and an index; the log matching property compares both."),
)
