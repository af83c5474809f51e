"""Which paths of a supernet a training step executes."""

from subshot.supernets.samplers._sampler import PATH_SAMPLERS, PathSamplerInfo, list_path_samplers, make_sampler

__all__ = ["PATH_SAMPLERS", "PathSamplerInfo", "list_path_samplers", "make_sampler"]
