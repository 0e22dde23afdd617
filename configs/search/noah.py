# NOAH's search (Zhang et al. 2022): which of adapter, LoRA and prompts in which third of the depth,
# then their sizes. The paper trains one network that has them all, and takes parts of it; here each
# trial is a training. --sampler evolution is the paper's kind of search.
_thirds = dict(first=[0, 0.34], middle=[0.34, 0.67], last=[0.67, 1])


def _modules(place, blocks):
    low_rank = dict(rank=8, scale=1.0, drop_rate=0.1, blocks=blocks)
    prompts = dict(type='VPT', deep=True, num_tokens=10, drop_rate=0.1, blocks=blocks)
    return {
        f'adapter_{place}': dict(
            adapter=dict(type='AdaptFormer', **low_rank), sizes=dict(rank=[1, 2, 4, 8, 16])
        ),
        f'lora_{place}': dict(
            adapter=dict(type='LoRA', targets=['in_proj', 'out_proj'], **low_rank),
            sizes=dict(rank=[1, 2, 4, 8, 16]),
        ),
        f'prompts_{place}': dict(adapter=prompts, sizes=dict(num_tokens=[1, 2, 5, 10, 20])),
    }


adapters = {
    name: candidate
    for place, blocks in _thirds.items()
    for name, candidate in _modules(place, blocks).items()
}
