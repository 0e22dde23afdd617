# Twice the batch, as papers on transformers have it.
_base_ = './vtab1k_224.py'

train_dataloader = dict(batch_size=64)
