# GLoRA's search: the forms of its supports, by kind of layer and third of the depth; a candidate's
# sizes are these forms. The paper's search is evolutionary: --sampler evolution.
_thirds = dict(first=[0, 0.34], middle=[0.34, 0.67], last=[0.67, 1])
_matrix = ['lora', 'vector', 'scalar', 'none']
_vector = ['vector', 'scalar', 'none']


def _glora(target, blocks):
    forms = dict(A='lora', B='lora', C='lora', D='vector', E='vector', rank=4)
    adapter = dict(type='GLoRA', targets=[target], blocks=blocks, **forms)
    # B stays of low rank, so that no candidate is left with nothing to train.
    sizes = dict(A=_matrix, C=['lora', 'vector', 'none'], D=_vector, E=_vector, rank=[2, 4, 8])
    return dict(adapter=adapter, sizes=sizes)


adapters = {
    f'{place}_{target}': _glora(target, blocks)
    for place, blocks in _thirds.items()
    for target in ('in_proj', 'out_proj')
}
