# MambaPEFT's two steps: which adapters, then their sizes and the learning rate.
_rank = [2, 4, 8, 16, 32]
_scale = dict(low=0.05, high=4.0, log=True)


def _low_rank(**settings):
    adapter = dict(rank=8, scale=1.0, drop_rate=0.1, **settings)
    return dict(adapter=adapter, sizes=dict(rank=_rank, scale=_scale))


adapters = dict(
    lora_in_out=_low_rank(type='LoRA', targets=['in_proj', 'out_proj']),
    lora_dt=_low_rank(type='LoRA', targets=['dt_proj', 'dt_proj_b']),
    lora_x=_low_rank(type='PartialLoRA', part='x'),
    lora_b=_low_rank(type='PartialLoRA', part='B'),
    lora_c=_low_rank(type='PartialLoRA', part='C'),
    tune_a=dict(adapter=dict(type='PartialTuning', patterns=['A_log', 'A_b_log'])),
    tune_d=dict(adapter=dict(type='PartialTuning', patterns=['D', 'D_b'])),
    tune_cls_token=dict(adapter=dict(type='PartialTuning', patterns=['cls_token'])),
    affixes=dict(
        adapter=dict(type='AffixTuning', num_tokens=3, project=False),
        sizes=dict(num_tokens=[1, 2, 3, 5, 8]),
    ),
)
settings = {'optim_wrapper.optimizer.lr': dict(low=5e-4, high=1e-2, log=True)}
