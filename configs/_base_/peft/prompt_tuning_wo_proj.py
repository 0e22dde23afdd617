# Eight prompts: 3,072 parameters on Vim-S.
adapters = [dict(type='PromptTuning', num_tokens=8, project=False)]
