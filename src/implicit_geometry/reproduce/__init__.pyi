from .items import ITEMS as ITEMS
from .items import Reproduction as Reproduction
from .items import reproduce as reproduce
