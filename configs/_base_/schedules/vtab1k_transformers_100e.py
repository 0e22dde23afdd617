# The recipe of papers on adapting ViT-B/16 (NOAH, FacT, Convpass): as MambaPEFT's, with batches of
# 64 images and without a limit on gradients.
_base_ = './vtab1k_100e.py'

optim_wrapper = dict(clip_grad=None)
auto_scale_lr = dict(base_batch_size=64)
