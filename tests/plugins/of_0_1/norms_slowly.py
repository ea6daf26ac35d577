from fptkit import FreezingPolicySpec, FreezingRule, hookimpl


@hookimpl
def fptkit_freezing_policies():
    return [
        FreezingPolicySpec(
            name="norms_slowly",
            summary="input, output and norms train, the norms ten times slower",
            rules=(
                FreezingRule(role="input"),
                FreezingRule(role="output"),
                FreezingRule(role="norm", learning_rate_multiplier=0.1),
            ),
        )
    ]
