"""Tiny models of random weights, in folders as transformers writes them."""

import sys

import frontend_originals
import pytest

LABELS = {0: "high", 1: "low", 2: "noise"}
KINDS = {
    "conformer": "Wav2Vec2Conformer",
    "data2vec": "Data2VecAudio",
    "hubert": "Hubert",
    "sew": "SEW",
    "sew-d": "SEWD",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeechSat",
    "wav2vec2": "Wav2Vec2",
    "wavlm": "WavLM",
}
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "id2label": LABELS,
    "label2id": {label: number for number, label in LABELS.items()},
}


@pytest.fixture(scope="module", autouse=True)
def without_compiled_torchaudio():
    """transformers imports torchaudio where it is installed, whether or not it loads."""
    sys.modules["torchaudio"] = frontend_originals.torchaudio()
    yield
    del sys.modules["torchaudio"]


def write_folder(kind, folder, **more):
    """The model and its extractor, written to `folder`; more: fields of its configuration."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    if kind == "ast":
        config = hf.ASTConfig(**_SMALL, max_length=100, num_mel_bins=64, **more)
        model = hf.ASTForAudioClassification(config)
        extractor = hf.ASTFeatureExtractor(max_length=100, num_mel_bins=64)
    elif kind == "whisper":
        config = hf.WhisperConfig(
            d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=80,
            max_source_positions=50, classifier_proj_size=16, use_weighted_layer_sum=True,
            id2label=LABELS, label2id=_SMALL["label2id"], **more,
        )  # fmt: skip
        model, extractor = (
            hf.WhisperForAudioClassification(config),
            hf.WhisperFeatureExtractor(chunk_length=1),
        )
    else:
        fields = {
            **_SMALL, "conv_dim": (16,) * 4, "conv_kernel": (10, 8, 4, 4), "conv_stride": (5, 4, 4, 4),
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
        }  # fmt: skip
        if kind == "data2vec":
            del fields["num_conv_pos_embedding_groups"]
            fields |= {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
        if kind.startswith("sew"):
            fields["squeeze_factor"] = 2
        config = getattr(hf, f"{KINDS[kind]}Config")(**fields, **more)
        model = getattr(hf, f"{KINDS[kind]}ForSequenceClassification")(config)
        extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=True)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.2)
    model.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model, extractor


def write_clap(folder, texts, *, fused):
    """A CLAP with its processor and the texts to choose among, written to `folder`: the pipeline of it."""
    import tokenizers
    import torch
    import transformers as hf

    torch.manual_seed(0)
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "depths": (1, 1), "aff_block_r": 2,
        "num_attention_heads": (2, 2), "patch_embeds_hidden_size": 16, "hidden_size": 32, "projection_dim": 8,
        "enable_fusion": fused, "fusion_type": None,
    }  # fmt: skip
    text = {
        "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32, "projection_dim": 8,
    }  # fmt: skip
    model = hf.ClapModel(hf.ClapConfig(audio_config=audio, text_config=text, projection_dim=8)).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Embedding):
            torch.nn.init.normal_(layer.weight, std=0.3)
    extractor = hf.ClapFeatureExtractor(
        feature_size=16, max_length_s=1, truncation="fusion" if fused else "rand_trunc", frequency_min=50
    )
    words = [
        "<pad>",
        "<unk>",
        "This",
        "is",
        "a",
        "sound",
        "of",
        *sorted({w for t in texts for w in t.split()}),
    ]
    words = tokenizers.models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    tokens = tokenizers.Tokenizer(words)
    tokens.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", unk_token="<unk>")
    for part in (model, extractor, tokenizer):
        part.save_pretrained(folder)
    (folder / "labels.txt").write_text("\n".join(texts) + "\n")
    return hf.ZeroShotAudioClassificationPipeline(
        model=model, feature_extractor=extractor, tokenizer=tokenizer
    )


def logits_of(model, extractor, sound):
    """What the original pipeline says of one sound at 16 kHz, [K]."""
    import torch

    name = model.main_input_name
    features = extractor(sound, sampling_rate=16000, return_tensors="pt")[name]
    with torch.no_grad():
        return model(**{name: features}).logits[0].numpy()
