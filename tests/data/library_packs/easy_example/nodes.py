import torch
from easy_nodes import ComfyNode, ImageTensor, MaskTensor, NumberInput, Choice, StringInput, show_text

@ComfyNode(color="#0066cc", return_names=["Below", "Above"])
def threshold_image(image: ImageTensor, threshold: float = NumberInput(0.5, 0, 1, 0.01, display="slider")) -> tuple[MaskTensor, MaskTensor]:
    """Returns separate masks for values above and below the threshold value."""
    mask_below = torch.any(image < threshold, dim=-1)
    return mask_below.float(), (~mask_below).float()

@ComfyNode(is_output_node=True)
def say(mask: MaskTensor, words: str = StringInput("hi"), how: str = Choice(["loud", "quiet"])) -> str:
    show_text(f"{words} {mask.mean().item()}")
    return words.upper() if how == "loud" else words
