from .demo import demo_specs as demo_specs
from .training import Watch as Watch
