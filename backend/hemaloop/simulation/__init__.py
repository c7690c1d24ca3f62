"""The experiment of active learning on labelled images: would choosing what to label have saved labels here?

A labelled data set plays an unlabelled one. Each seed starts from a few images; round after round a strategy sorts
some random images, the best of them are "labelled", the model is trained afresh and measured on images that nobody
chooses from (Sadafi et al. 2019, section 3 and Fig. 4).

experiment   what makes the figures what they are           images       test split, start, candidates
strategies   which image first                              folder       everything on disk, one file a step
rounds       the experiment of one seed and strategy        local        all of it, on this machine
queued       the same, by workers                           statistics   curves, labels saved, gains, intervals
results      CSV, JSON and figures
"""
