from fptkit import FreezingPolicySpec, FreezingRule, hookimpl


@hookimpl
def fptkit_freezing_policies():
    trained = [FreezingRule(role="input"), FreezingRule(role="output")]
    rules = (*trained, FreezingRule(role="attention", blocks=(-1,)))
    summary = "attention of the last block trains"
    return [FreezingPolicySpec(name="last_attention", summary=summary, rules=rules)]
