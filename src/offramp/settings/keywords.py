"""Settings as keywords of a call; written by ``python -m tests.settings.write_keywords``, not by hand."""

from typing import Literal, TypedDict

from offramp.settings.budget_config import BudgetConfig
from offramp.settings.cost_config import CostConfig
from offramp.settings.deploy_config import DeployConfig
from offramp.settings.execution_config import ExecutionConfig
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.settings.search_config import SearchConfig
from offramp.settings.space_config import SpaceConfig
from offramp.settings.train_config import TrainConfig


class KeywordSettings(TypedDict, total=False):
    """Settings by keyword: whole sections, or single settings with two underscores for the dot.

    Attributes:
        seed: Seed of everything random.
        data: The labelled samples and their splits.
        space: What may be built.
        cost: The accelerator and how networks are priced on it.
        train: Training of the supernet.
        search: Which candidates are tried, and what is better.
        fine_tune: What happens to the chosen networks.
        deploy: What exported bundles hold.
        budget: Wall time of the whole command (90s, 40m, 2h) or a number of evaluations.
        execution: How the work is done.
        data__source: `digits`, or a file or folder with labelled images, sounds, series, tables or arrays.
        data__validation_share: Share of the samples for validation, where the data name none.
        data__test_share: Share of the samples for the test, where the data name none.
        data__kind: What the numbers of arrays and tables are (default: decided from axes and values, and printed).
        data__image_column: Column or array that holds the samples (default: the only one that can be).
        data__label_column: Column or array that holds the labels (default: found by its name or type).
        data__image_size: Height and width in pixels that images are resized to (default: as they are).
        data__group_column: Column or array that names a group, such as a speaker or patient: no group is in two splits.
        data__group_pattern: Regular expression that finds the group in a file name, in its parentheses, such as
            '_(.*)_'.
        data__id_column: Column of a table that says which series a row is a step of (default: found by its name).
        data__window: Time steps of the windows that long series are cut into (default: not cut).
        data__hop: Time steps from one window to the next (default: half a window).
        data__duplicates: What happens to training samples that are also in validation or test, equal to the bit.
        data__long_sounds: Part of a sound longer than a window: the loudest window, the first, or one every half
            window.
        data__sound_features: What is computed of sounds; `raw` gives the samples themselves as a series.
        data__sound_rate_hz: Samples per second (default: the most frequent rate of the sounds, at most 16000).
        data__sound_window_s: Seconds of a window of sound (default: what 95 % of the sounds fit into, at most 4).
        data__sound_frame_ms: Milliseconds of a frame (default: 30, or two hops where that is more).
        data__sound_hop_ms: Milliseconds from frame to frame (default: 10 to 20, for about 49 frames).
        data__sound_bands: Mel bands of sounds (default: 40; 32 below 16000 samples per second).
        data__sound_coefficients: Cepstral coefficients of `mfcc` (default: 13).
        data__sound_shift: Share of a window by which training sounds are moved in time at most.
        data__sound_masks: Share of frames, and of bands, of training sounds that are hidden at most (SpecAugment).
        data__sound_noise_db: Strongest noise in training sounds, in dB below their loudest part; null: none.
        data__sound_gain_db: Spread of the strength of raw training sounds in dB; features have none.
        data__label_pattern: Regular expression whose one group is the class in the name of a sound (default: class
            folders).
        data__memory_mib: Decoded images and sounds of more MiB stay on disk (OFFRAMP_CACHE) and are read by batches.
        data__augment: Whether training samples are changed at random: images cropped, series moved, noise added.
        space__backbone: Backbone family (see `offramp list backbones`), timm:NAME for a timm model, an ONNX file, or
            auto: what suits the data.
        space__weights: Weights of a timm backbone: a safetensors file (default: random weights).
        space__freeze: Whether only the branches are trained, not a timm or ONNX backbone.
        space__max_taps: Largest number of places for exits in a timm or ONNX backbone.
        space__branches: Types of exit branches (see `offramp list branches`); `searched` is built layer by layer.
        space__measures: Confidence measures to choose from.
        space__accuracy_drops: Shares of accuracy that leaving early may cost, to choose from.
        space__max_exits: Largest number of early exits of a network.
        space__exit_reuse: What an exit adds of the logits of the exit before it: none, cascade (a learned matrix times
            them), geometric_mean (a learned weight per class times them).
        space__elastic_widths: Whether the widths of the stages are searched; otherwise all stages have full width.
        space__precision: Granularity of the searched bit widths: fixed (none), network (backbone, branches), stage,
            layer.
        space__precisions: Weight/activation bits to search among, such as 8/8 or ternary/8.
        space__analog_shares: Shares of a layer's channels on the analog core to search among (accelerator diana):
            0,0.5,1.
        cost__accelerator: Accelerator: a name (see `offramp list accelerators`) or a YAML file.
        cost__engine: Cost engine (see `offramp list engines`).
        cost__convention: How pooling is charged: offramp, or published (as in the reference).
        cost__loads: When data that a layer loads once arrives: before it computes, or overlap (as zigzag-dse 3.9).
        cost__unrolling: How the native engine cuts a core's dataflow down to a smaller layer: best, or as zigzag.
        cost__memory_fill: How much of a core's memories the native engine fills: full, or best (slower, never worse).
        cost__mapping: Mapping: optimized (all cores) or layer_by_layer (one core; the one of convention published).
        cost__mapping_steps: Steps that the optimized mapping may take: on_chip, prefetch, split, beside, fuse, optimum.
        cost__weight_bits: Bits of backbone weights.
        cost__activation_bits: Bits of backbone activations.
        cost__branch_weight_bits: Bits of branch weights.
        cost__branch_activation_bits: Bits of branch activations.
        train__epochs: Epochs of training (default: 10 to 40, and more where that is under 320 steps).
        train__batch_size: Samples of a training step (default: 16 to 128, by the number of samples).
        train__learning_rate: Largest learning rate of the schedule.
        train__weight_decay: Weight decay.
        train__momentum: Momentum of gradient descent.
        train__label_smoothing: Share of a label's weight that is spread over all classes.
        train__class_weights: Weights of the classes in the loss: none, or balanced (rare classes count more).
        train__random_subnets: Random subnets trained in each step, beside the largest and the smallest.
        train__sort_channels: Whether only full widths are trained at first and channels are then sorted by importance.
        train__full_width_share: Share of the training at full widths, where channels are sorted.
        train__distillation_weight: Weight of distillation in the loss; the labels have the rest.
        train__distillation_temperature: Temperature that softens the outputs for distillation.
        train__sample_weighting: Weights of samples in each exit's loss: equal, or larger where exits before are unsure
            (reaching) or the one before is wrong (boosting).
        train__gradient_equilibrium: Whether all exits have the same share of the gradient of the backbone.
        train__exit_training: Whether early exits are trained with the backbone (joint) or on a finished one
            (after_backbone).
        train__backbone_share: Share of the training in which after_backbone trains the backbone alone.
        train__device: Device to train on, as torch names it: cpu, cuda, cuda:1.
        train__precision: Number format of the training: auto (bf16 where it is fast), fp32 or bf16.
        train__channels_last: Whether feature maps are laid out with channels last.
        train__threads: Threads of torch (default: what suits the images' size).
        search__algorithm: Search algorithm (see `offramp list algorithms`).
        search__evaluations: Candidates to evaluate, where no budget says otherwise.
        search__batch: Candidates proposed at a time.
        search__open_batches: Batches that may be incomplete at the same time, so that no worker waits for the slowest
            candidate (default: 1, or as many as keep all workers busy where these are more than half a batch).
        search__objectives: Metrics to optimise: accuracy, balanced_accuracy, macro_f1, recall:CLASS, energy_pj,
            latency_cycles, macs, energy_delay_product_j_cycles, memory_use.
        search__constraints: Bounds that a network must keep, such as "latency_cycles<=200000" or "macs<=2.4M".
        search__fit_memory: Whether a network must fit the accelerator's memories (constraint memory_use<=1).
        search__validation_samples: Largest number of validation samples to judge candidates on.
        search__calibration_samples: Training samples that set the batch-norm statistics of a candidate.
        search__class_thresholds: Whether thresholds differ by predicted class, as far as validation samples show
            differences.
        search__calibrate_confidences: Whether each exit gets a temperature, fitted on validation samples, before its
            threshold.
        fine_tune__epochs: Epochs of fine-tuning (default: as many as the supernet was trained for).
        fine_tune__learning_rate: Largest learning rate of the schedule.
        fine_tune__reference: Whether the largest static network is fine-tuned and tested, too; false saves its time.
        fine_tune__teacher: What exits learn from beside the labels: final_exit or later_exits (early exits only), or
            reference (all exits).
        fine_tune__match: Whether the static networks that chosen ones are compared with are fine-tuned and tested, too.
        fine_tune__accuracy_margin: Accuracy that early exits may lose against the static match and still pay, a share.
        fine_tune__early_exit_weight: Weight of the loss of each early exit, relative to that of the final exit.
        fine_tune__early_exit_weights: Values of early_exit_weight to choose among for each network, by short trainings
            that validation samples judge (default: none, early_exit_weight holds).
        fine_tune__drop_exits: Whether exits that do not pay for their branches are removed from a trained network
            (default: yes, unless there is a guarantee).
        fine_tune__contenders: Members of the front that are trained for a short time before picks are made among the
            best of them, by successive halving (default: 0, none).
        fine_tune__picks: Points of the front to finish: knee, most_accurate, near_best (the cheapest within half a
            point of the best static network), cheapest, a number, or bounds ("macs<=2M").
        fine_tune__guarantee: Accuracy that leaving early may cost, and the confidence in that: 0.01@0.95 (default:
            none).
        fine_tune__guarantee_measure: What the guarantee is about: accuracy, or recall:NAME for one class.
        fine_tune__quantize: Whether the networks are trained and exported at the bit widths that are priced.
        fine_tune__weight_density: Share of nonzero weights to prune to, for an accelerator that gains from zeros
            (default: all).
        deploy__licence: Licence of the exported networks: a name such as CC-BY-4.0, or a text file (default: none).
        deploy__targets: Deployment targets of each chosen network (see `offramp list targets`); onnx is always written.
        budget__seconds: Wall time of the whole command in seconds (default: no limit).
        budget__evaluations: Candidates to evaluate (default: search.evaluations).
        execution__workers: Processes of this machine that evaluate and fine-tune (default: this one alone).
        execution__devices: Processes of this machine, or its GPUs, that train one network together (default: one).
        execution__cluster: Scheduler of a Dask cluster that evaluates and fine-tunes: tcp://host:8786 (default: none).
        execution__evaluation_timeout_s: Seconds after which a candidate counts as failed (default: never).
        execution__max_failures: More failed candidates than this end the search (default: half of all, from twenty on).
        execution__evaluation_resources: Resources of a cluster's worker that an evaluation needs, such as {GPU: 1}.
        execution__training_resources: Resources of a cluster's worker that a training needs, such as {GPU: 1}.
        execution__tracker: Where figures are logged, too (see `offramp list trackers`; default: nowhere).
    """

    seed: int
    data: object
    space: SpaceConfig
    cost: CostConfig
    train: TrainConfig
    search: SearchConfig
    fine_tune: FineTuneConfig
    deploy: DeployConfig
    budget: BudgetConfig
    execution: ExecutionConfig
    data__source: str
    data__validation_share: float
    data__test_share: float
    data__kind: Literal["pixels", "feature_maps", "series", "vectors"] | None
    data__image_column: str | None
    data__label_column: str | None
    data__image_size: int | None
    data__group_column: str | None
    data__group_pattern: str | None
    data__id_column: str | None
    data__window: int | None
    data__hop: int | None
    data__duplicates: Literal["remove", "keep"]
    data__long_sounds: Literal["loudest", "start", "windows"]
    data__sound_features: Literal["log-mel", "mfcc", "raw"]
    data__sound_rate_hz: int | None
    data__sound_window_s: float | None
    data__sound_frame_ms: float | None
    data__sound_hop_ms: float | None
    data__sound_bands: int | None
    data__sound_coefficients: int | None
    data__sound_shift: float
    data__sound_masks: float
    data__sound_noise_db: float | None
    data__sound_gain_db: float
    data__label_pattern: str | None
    data__memory_mib: int
    data__augment: bool
    space__backbone: str
    space__weights: str | None
    space__freeze: bool
    space__max_taps: int
    space__branches: tuple[str, ...] | list[str]
    space__measures: (
        tuple[Literal["max_probability", "entropy", "margin"], ...]
        | list[Literal["max_probability", "entropy", "margin"]]
    )
    space__accuracy_drops: tuple[float, ...] | list[float]
    space__max_exits: int
    space__exit_reuse: Literal["none", "cascade", "geometric_mean"]
    space__elastic_widths: bool
    space__precision: Literal["fixed", "network", "stage", "layer"]
    space__precisions: tuple[str, ...] | list[str]
    space__analog_shares: tuple[float, ...] | list[float]
    cost__accelerator: str
    cost__engine: str
    cost__convention: Literal["offramp", "published"]
    cost__loads: Literal["before", "overlap"]
    cost__unrolling: Literal["best", "zigzag"]
    cost__memory_fill: Literal["full", "best"]
    cost__mapping: Literal["layer_by_layer", "optimized"]
    cost__mapping_steps: (
        tuple[Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"], ...]
        | list[Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"]]
    )
    cost__weight_bits: int
    cost__activation_bits: int
    cost__branch_weight_bits: int
    cost__branch_activation_bits: int
    train__epochs: int | None
    train__batch_size: int | None
    train__learning_rate: float
    train__weight_decay: float
    train__momentum: float
    train__label_smoothing: float
    train__class_weights: Literal["none", "balanced"]
    train__random_subnets: int
    train__sort_channels: bool
    train__full_width_share: float
    train__distillation_weight: float
    train__distillation_temperature: float
    train__sample_weighting: Literal["equal", "reaching", "boosting"]
    train__gradient_equilibrium: bool
    train__exit_training: Literal["joint", "after_backbone"]
    train__backbone_share: float
    train__device: str
    train__precision: Literal["auto", "fp32", "bf16"]
    train__channels_last: bool
    train__threads: int | None
    search__algorithm: str
    search__evaluations: int
    search__batch: int
    search__open_batches: int | None
    search__objectives: tuple[str, ...] | list[str]
    search__constraints: tuple[str, ...] | list[str]
    search__fit_memory: bool
    search__validation_samples: int
    search__calibration_samples: int
    search__class_thresholds: bool
    search__calibrate_confidences: bool
    fine_tune__epochs: int | None
    fine_tune__learning_rate: float
    fine_tune__reference: bool
    fine_tune__teacher: Literal["final_exit", "later_exits", "reference"]
    fine_tune__match: bool
    fine_tune__accuracy_margin: float
    fine_tune__early_exit_weight: float
    fine_tune__early_exit_weights: tuple[float, ...] | list[float]
    fine_tune__drop_exits: bool | None
    fine_tune__contenders: int
    fine_tune__picks: tuple[str, ...] | list[str]
    fine_tune__guarantee: str | None
    fine_tune__guarantee_measure: str
    fine_tune__quantize: bool
    fine_tune__weight_density: float | None
    deploy__licence: str | None
    deploy__targets: tuple[str, ...] | list[str]
    budget__seconds: float | None
    budget__evaluations: int | None
    execution__workers: int | None
    execution__devices: int | None
    execution__cluster: str | None
    execution__evaluation_timeout_s: float | None
    execution__max_failures: int | None
    execution__evaluation_resources: dict[str, float]
    execution__training_resources: dict[str, float]
    execution__tracker: str | None
