from memba_vision.runs.compared_settings import differences, flat_settings


def test_differences_are_named_by_their_key():
    before = flat_settings({'lr': 0.1, 'model': {'adapters': [{'rank': 4}]}, 'work_dir': 'a'})
    now = flat_settings({'model': {'adapters': [{'rank': 8}, {'rank': 4}]}, 'work_dir': 'b'})
    assert differences(before, now) == [
        'lr was 0.1, is not set',
        'model.adapters.0.rank was 4, is 8',
        'model.adapters.1.rank was not set, is 4',
    ]


def test_what_is_switched_off_is_no_difference():
    hook = {'visualization': {'type': 'VisualizationHook', 'enable': False}}
    assert flat_settings({'default_hooks': hook}) == {}
    hook['visualization']['enable'] = True
    assert len(flat_settings({'default_hooks': hook})) == 2
