# Ablation of Memba: the membrane without LoRA, no parameters but the head's.
adapters = [dict(type='LIM', site='gate', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True)]
