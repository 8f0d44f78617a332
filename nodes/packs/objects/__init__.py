"""Objects as packs hold them: values at the boundary, and what packs make of models, guiders and samplers."""
