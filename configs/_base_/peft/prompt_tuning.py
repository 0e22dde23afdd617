# Eight prompts through a two-layer network: 298,752 parameters on Vim-S.
adapters = [dict(type='PromptTuning', num_tokens=8, project=True)]
