_base_ = './vim-mini.py'

# Far from the images of pre-training the features hardly vary: without the normalisation that is
# usual in linear probing (He et al. 2022, appendix A.1) the probe would not converge.
model = dict(
    backbone=dict(type='PEFTModel', adapters=[]),
    neck=dict(type='ClsBatchNormNeck', input_features=96),
)
