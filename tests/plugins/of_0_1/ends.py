import torch

from fptkit import Classes, GeneratedTask, Symbols, TaskSpec, hookimpl


class Ends(GeneratedTask):
    input, output, max_tokens = Symbols(4), Classes(2), 12

    def draw(self, count, generator):
        letters = torch.randint(0, 4, (count, 12), generator=generator)
        return letters, (letters[:, 0] == letters[:, -1]).long()


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="ends", summary="are the first and the last letter the same?", target=Ends)]
