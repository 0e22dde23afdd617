"""The methods that this package compares, each with what has been published about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Results on VTAB-1k with Vim-S, the means of groups and of the 19 tasks in percent.

    Attributes:
        thousands: trained parameters in thousands, as printed. MambaPEFT's rows mostly count
            about 9 K of head with them, Memba's counts the adapters alone.
        natural: mean over the 7 natural tasks.
        specialized: mean over the 4 specialised tasks.
        structured: mean over the 8 structured tasks.
        average: mean over all 19 tasks.
    """

    thousands: int
    natural: float
    specialized: float
    structured: float
    average: float


@dataclass(frozen=True)
class Method:
    """A way to adapt a backbone.

    Attributes:
        name: as it is printed in the tables of the papers.
        preset: the name of its file in ``configs/_base_/peft``.
        source: the paper.
        published: what was measured on VTAB-1k with Vim-S, if anything.
        note: what else a reader of a table has to know.
    """

    name: str
    preset: str
    source: str
    published: Published | None = None
    note: str = ''


_MAMBAPEFT = 'MambaPEFT (Yoshimura et al. 2025)'
_MEMBA = 'Memba (ICLR 2026)'


def _row(name: str, preset: str, figures: tuple, note: str = '') -> Method:
    return Method(name, preset, _MAMBAPEFT, Published(*figures), note)


_SEARCHED = 'the ranks that were searched are not published: those the search starts from'

METHODS = (
    _row('scratch', 'scratch', (25450, 8.33, 49.87, 28.16, 25.42)),
    _row(
        'full fine-tuning',
        'full_fine_tuning',
        (25450, 59.35, 68.74, 34.39, 47.08),
        'as printed; the mean that follows from the printed groups is 50.82',
    ),
    _row('linear probing', 'linear_probing', (9, 62.50, 77.25, 31.97, 52.75)),
    _row('CLS-token-tuning', 'cls_token_tuning', (9, 62.50, 77.20, 32.20, 52.84)),
    _row('Pos-embed-tuning', 'pos_embed_tuning', (84, 64.25, 74.60, 39.77, 56.12)),
    _row('Bias-tuning', 'bias_tuning', (37, 68.94, 79.16, 45.05, 61.03)),
    _row('D-tuning', 'd_tuning', (45, 67.14, 78.56, 40.10, 58.16)),
    _row('A-tuning', 'a_tuning', (598, 72.01, 80.72, 49.59, 64.40)),
    _row('Conv1d-tuning', 'conv1d_tuning', (156, 74.33, 82.45, 57.83, 69.09)),
    _row('Prompt-tuning (w/o proj)', 'prompt_tuning_wo_proj', (12, 69.92, 79.20, 47.75, 62.54)),
    _row('Prompt-tuning', 'prompt_tuning', (307, 63.19, 77.88, 35.82, 54.76)),
    _row('Affix-tuning (w/o proj)', 'affix_tuning_wo_proj', (230, 63.90, 77.66, 34.21, 54.30)),
    _row('Affix-tuning', 'affix_tuning', (117000, 75.84, 83.29, 58.94, 70.29)),
    _row('Additional-scan', 'additional_scan', (672, 74.63, 82.68, 56.40, 68.65)),
    _row('ParallelAdapter', 'parallel_adapter', (663, 76.10, 83.97, 59.97, 70.96)),
    _row('LoRA(embed)', 'lora_embed', (45, 64.66, 77.53, 43.83, 58.60)),
    _row('LoRA(x_proj)', 'lora_x_proj', (2540, 74.41, 81.92, 54.88, 67.77)),
    _row('LoRA(dt_proj)', 'lora_dt_proj', (2442, 75.35, 83.05, 57.12, 69.30)),
    _row('LoRA(out_proj)', 'lora_out_proj', (2663, 76.42, 83.96, 60.08, 71.12)),
    _row('LoRA(in_proj)', 'lora_in_proj', (1483, 76.58, 84.08, 60.16, 71.25)),
    _row('LoRAp(d)', 'lorap_d', (2442, 73.25, 80.91, 50.93, 65.46)),
    _row('LoRAp(C)', 'lorap_c', (2417, 72.78, 81.57, 51.35, 65.61)),
    _row('LoRAp(B)', 'lorap_b', (2417, 72.95, 81.66, 52.26, 66.07)),
    _row('LoRAp(Z)', 'lorap_z', (1778, 76.15, 84.26, 59.72, 70.94)),
    _row('LoRAp(X)', 'lorap_x', (1778, 76.64, 83.89, 60.84, 71.52)),
    _row('Hybrid (w/ proj)', 'hybrid', (117236, 77.00, 84.41, 61.55, 72.05), _SEARCHED),
    _row('Hybrid (w/o proj)', 'hybrid_wo_proj', (1044, 76.85, 84.42, 61.06, 71.80), _SEARCHED),
    Method('Memba (in+out proj)', 'memba', _MEMBA, Published(4718, 77.07, 85.66, 61.70, 72.40)),
    Method('Memba, membrane on the gate', 'memba_gate', _MEMBA, note='the other reading'),
    Method('Memba: LIM alone', 'memba_lim_alone', _MEMBA),
    Method('LoRA(in+out proj), Memba without LIM', 'lora', _MEMBA),
    Method('Memba: no cross-layer transfer', 'memba_no_transfer', _MEMBA),
    Method('Memba: no reset', 'memba_no_reset', _MEMBA),
    Method("Memba: LSTM in LIM's place", 'memba_lstm', _MEMBA),
    Method("Memba: GRU in LIM's place", 'memba_gru', _MEMBA),
    Method('Memba: LoRA on x_proj and dt_proj too', 'memba_all_proj', _MEMBA),
    Method('DoRA', 'dora', 'Liu et al. 2024'),
    Method('ProDiaL', 'prodial', 'Ham et al. 2025'),
    Method('State-offset Tuning', 'state_offset', 'Kang et al. 2025'),
    Method('SSMLoRA', 'ssm_lora', 'Yu et al. 2025', note='on out_proj of every second block'),
    Method('SLL LoRA', 'sll_lora', 'Halloran et al. 2024', note='layers inferred from its sizes'),
)


def method_of(preset: str) -> Method | None:
    """The method that a preset belongs to; None for a preset of the user's own."""
    return next((method for method in METHODS if method.preset == preset), None)
